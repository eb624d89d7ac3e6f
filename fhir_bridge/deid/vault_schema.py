"""The vault's tables. Nothing here names a patient: originals are ciphertext, patients and pseudonyms are keyed hashes."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

-- One data key a patient, wrapped by the master key: without its row the patient's mappings are noise (crypto-shredding).
CREATE TABLE IF NOT EXISTS patient_key (
    project TEXT NOT NULL,
    patient TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    PRIMARY KEY (project, patient)
) WITHOUT ROWID;

-- sealed = nonce || AES-256-GCM ciphertext of the original; associated data = project | patient | kind | pseudonym
CREATE TABLE IF NOT EXISTS mapping (
    project   TEXT NOT NULL,
    patient   TEXT NOT NULL,
    pseudonym TEXT NOT NULL,
    kind      TEXT NOT NULL,
    sealed    BLOB NOT NULL,
    PRIMARY KEY (project, patient, pseudonym)
) WITHOUT ROWID;

-- Which pseudonyms a job may resolve. tag = HMAC over the row, so that a row written by someone else does not count.
CREATE TABLE IF NOT EXISTS binding (
    job       TEXT NOT NULL,
    pseudonym TEXT NOT NULL,
    project   TEXT NOT NULL,
    patient   TEXT NOT NULL,
    kind      TEXT NOT NULL,
    tag       BLOB NOT NULL,
    PRIMARY KEY (job, pseudonym)
) WITHOUT ROWID;

-- Who asked for what, and why. hash = HMAC over the row and the hash before it.
CREATE TABLE IF NOT EXISTS access_log (
    number     INTEGER PRIMARY KEY,
    at         TEXT NOT NULL,
    action     TEXT NOT NULL,
    job        TEXT NOT NULL,
    pseudonyms TEXT NOT NULL,
    hash       BLOB NOT NULL
);

CREATE TRIGGER IF NOT EXISTS access_log_is_append_only BEFORE UPDATE ON access_log
BEGIN SELECT RAISE(ABORT, 'the access log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS access_log_keeps_all BEFORE DELETE ON access_log
BEGIN SELECT RAISE(ABORT, 'the access log is append-only'); END;
"""
