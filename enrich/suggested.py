"""Which vision models to offer to someone who has none; light, for the dashboard as well as for the describers."""

# Download sizes in GB of models that see, large to small: what to offer to a GPU of a given size. Hearsay.
SUGGESTED_GB: tuple[tuple[str, float], ...] = (
    ("llava:34b", 20.0),
    ("llava:13b", 8.0),
    ("qwen2.5vl:7b", 6.0),
    ("llava:7b", 4.7),
    ("gemma3:4b", 3.3),
    ("moondream", 1.7),
)
