# The bridge alone. docker-compose.yml adds its neighbours. Not built where this project is developed: README.md, "Not tried".
FROM python:3.11-slim-bookworm

WORKDIR /opt/fhir-bridge
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY hl7_listener hl7_listener
COPY mappings mappings
COPY inference inference
COPY fhir_bridge fhir_bridge
RUN pip install --no-cache-dir --constraint constraints.txt . \
    && useradd --system --uid 10001 --home-dir /var/lib/fhir-bridge --create-home bridge

USER bridge
ENV FHIR_BRIDGE_DATA_DIR=/var/lib/fhir-bridge PYTHONUNBUFFERED=1
VOLUME /var/lib/fhir-bridge
EXPOSE 2575 8765
HEALTHCHECK --interval=15s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8765/health/live', timeout=5)"]
ENTRYPOINT ["fhir-bridge"]
CMD ["serve"]
