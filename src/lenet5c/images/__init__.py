"""From pictures to what a trained model reads in them."""
