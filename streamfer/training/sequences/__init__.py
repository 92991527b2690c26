"""Networks of windows of frames: what they are trained on, how, and what is measured and exported of them."""
