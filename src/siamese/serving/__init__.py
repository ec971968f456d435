"""A model that answers over HTTP: `siamese serve`.

`server` is the process, `application` its routes, `service` what they ask: images are decoded by several threads, and
those of all requests embedded together (`batcher`). Limits are section `serve` of params.yaml, and `data.max_pixels`.
"""
