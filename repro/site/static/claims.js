// Shows the claims that fit the form; the form stays hidden without this script. The choice is kept in the address.
(function () {
  const form = document.getElementById("claims-search");
  const rows = Array.from(document.querySelectorAll("#claims tbody tr"));
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const count = document.getElementById("claims-count");
  const fields = ["words", "paper", "status"];

  function show() {
    const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const paper = form.elements.paper.value, status = form.elements.status.value;
    let shown = 0;
    rows.forEach((row, i) => {
      const fits = (!paper || row.dataset.paper === paper) && (!status || row.dataset.status === status) &&
        words.every((word) => texts[i].includes(word));
      row.hidden = !fits;
      shown += fits;
    });
    count.textContent = `${shown} of ${rows.length} claims`;
  }

  function remember() {
    const chosen = new URLSearchParams();
    fields.forEach((name) => form.elements[name].value && chosen.set(name, form.elements[name].value));
    const query = chosen.toString();
    try {
      history.replaceState(null, "", location.pathname + (query ? "?" + query : "") + location.hash);
    } catch (error) { /* pages opened as files may not do this in every browser */ }
  }

  const given = new URLSearchParams(location.search);
  fields.forEach((name) => { if (given.has(name)) form.elements[name].value = given.get(name); });
  form.addEventListener("input", () => { show(); remember(); });
  form.addEventListener("reset", () => setTimeout(() => { show(); remember(); }));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
})();
