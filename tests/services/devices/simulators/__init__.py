"""Simulated hardware: packages of devices for lewis."""
