// placeholder while the package builds its new dependencies
