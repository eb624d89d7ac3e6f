import pytest

from mappings.authority import Authorities, Authority
from mappings.order import Identifier

SITE = Authorities(
    [
        Authority("HOSP", oid="1.2.3"),
        Authority("RIS", system="urn:ris"),
        Authority("BOTH", oid="1.2.4", system="https://hospital.example/mrn"),
    ]
)


@pytest.mark.parametrize(
    ("namespace", "universal_id", "system"),
    [
        ("HOSP", "", "urn:oid:1.2.3"),
        ("", "1.2.3", "urn:oid:1.2.3"),
        ("RIS", "", "urn:ris"),
        ("BOTH", "", "https://hospital.example/mrn"),
        ("", "1.2.4", "https://hospital.example/mrn"),
        ("RIS", "1.2.3", "urn:oid:1.2.3"),  # the OID before the namespace
        ("HOSP", "1.9.9", "urn:oid:1.9.9"),  # another OID under a known name is another authority
        ("RIS", "1.9.9", "urn:ris"),  # a rule without OID speaks for the name
        ("", "1.2.840.7", "urn:oid:1.2.840.7"),
        ("ELSEWHERE", "", ""),
        ("ELSEWHERE", "hospital.example", ""),  # a DNS name is no OID
        ("", "", ""),
    ],
)
def test_an_authority_becomes_an_identifier_system(namespace: str, universal_id: str, system: str) -> None:
    identifier = Identifier("CANARY-1", namespace=namespace, universal_id=universal_id)

    assert SITE.resolve(identifier).system == system


def test_an_identifier_with_a_system_keeps_it() -> None:
    identifier = Identifier("CANARY-1", system="urn:theirs", namespace="HOSP")

    assert SITE.resolve(identifier) == identifier


@pytest.mark.parametrize("second", [Authority("HOSP"), Authority("OTHER", oid="1.2.3")])
def test_two_rules_cannot_claim_one_authority(second: Authority) -> None:
    with pytest.raises(ValueError, match="another rule"):
        Authorities([Authority("HOSP", oid="1.2.3"), second])
