"""JSON schemas of pykarabo, generated from the code and shipped with the package."""
