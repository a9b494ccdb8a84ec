"""Applications that run on AOS. They import ``aos.sdk`` and nothing else of AOS."""
