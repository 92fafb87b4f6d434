"""The live page: a server on this machine that shows run folders, and keeps its pages up to date while runs train."""
