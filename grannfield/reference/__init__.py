"""References made here: a material's runs under one force field, by one protocol, entered where the suite finds them."""
