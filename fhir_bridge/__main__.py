"""`fhir-bridge` and `python -m fhir_bridge`."""

from fhir_bridge.cli.root import main

if __name__ == "__main__":
    main()
