"""One file per engine that can run the network: each turns images into labels and logits."""
