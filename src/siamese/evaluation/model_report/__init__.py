"""The page of `siamese report`: scores, mistakes, embeddings and regions of a model, in pictures."""
