"""One module per published table or figure: recipe in, data frame out."""
