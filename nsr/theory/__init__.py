"""Theorem 1: its two terms as printed and repaired, their derivation line by line, and where the printed form fails."""
