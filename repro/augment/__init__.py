"""Network augmentation."""
