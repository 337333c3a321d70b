"""Tool label study: the pseudo labels of tools against what people say of the same images, after n reviews."""
