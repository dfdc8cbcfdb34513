"""The services of pykarabo: device classes that serve a whole domain."""
