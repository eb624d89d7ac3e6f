"""The integration server: composes the listener, the mappings and the models into the life of a job."""
