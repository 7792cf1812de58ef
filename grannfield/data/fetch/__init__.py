"""Public data from Figshare: listed, downloaded with resumption, checked by MD5, unpacked with care."""
