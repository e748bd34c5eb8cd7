"""How fast and how accurate are neural operators with dense and with factorised weights?"""
