"""Identification on cameras, video files and hot folders."""
