"""Make new garments: simulate, pack, train, evaluate."""
