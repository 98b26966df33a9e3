"""FSFT for your own: whole classifiers of torchvision and timm made joint, and trained networks put to use."""
