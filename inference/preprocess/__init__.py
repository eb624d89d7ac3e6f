"""The named steps a manifest may list, one file per modality."""
