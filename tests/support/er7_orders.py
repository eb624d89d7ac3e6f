"""Orders and batches in ER7, for tests of what stands behind the listener."""


def an_order(control_id: str = "M1", **fields: str) -> str:
    """An ORM^O01; `fields` are `msh9`, `msh11` and so on, `control` ORC-1."""
    msh = [
        "MSH",
        "^~\\&",
        "RIS",
        "HOSP",
        "AI",
        "HOSP",
        "20260302093000",
        "",
        "ORM^O01^ORM_O01",
        control_id,
        "P",
        "2.5.1",
    ]
    msh += [""] * 7
    for name, value in fields.items():
        if name.startswith("msh"):
            msh[int(name[3:]) - 1] = value
    return "\r".join(
        (
            "|".join(msh).rstrip("|"),
            "PID|1||CANARY-1^^^HOSP^MR||CANARY^ZEBRA||20220304|F",
            f"ORC|{fields.get('control', 'NW')}|CANARY-P1^RIS|||||||20260302093000",
            "OBR|1|CANARY-P1^RIS||XCH^Chest^L||||||||||||||CANARY-A1",
            "",
        )
    )


def a_batch(*messages: str) -> str:
    return "\r".join(
        (
            "FHS|^~\\&|RIS|HOSP",
            "BHS|^~\\&|RIS|HOSP|AI|HOSP|20260302||||B7",
            "".join(messages) + f"BTS|{len(messages)}",
            "FTS|1",
            "",
        )
    )
