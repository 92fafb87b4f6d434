"""Every private or internal symbol of Ray that raytrain uses, each with its reason.

Ray has no public way to do these things. Each function says why it is needed, in which versions of Ray the symbol
exists as it is used here, and which upstream issue asks for a public way, where there is one.
`tests/ray_backend/test_internals.py` has a canary test for each, so that a new version of Ray fails there first.

Ray is imported inside the functions: `private_ray` has to set Ray's environment before the first import of Ray.
"""
