"""Robust rules that replace a method's average: they limit what a few hostile updates can do."""
