"""The HyperSeg network: encoder, context head, and a decoder whose weights the encoder writes for every patch."""
