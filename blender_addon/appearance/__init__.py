"""How clothes are shown: materials, fabrics, looks, modifiers."""
