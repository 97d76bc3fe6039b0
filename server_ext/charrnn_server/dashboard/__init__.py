"""The dashboard behind `/charrnn`: its kernels, and what Voilà's front end needs to show their widgets."""
