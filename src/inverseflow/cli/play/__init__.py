"""A page to play with a flow of images: what it computes, and the server behind it."""
