"""What runs on the client around a prediction: preprocess, enrich, postprocess."""
