-- What of a call's usage may have a price of its own (sound, pictures, searches, a class of service), where there is any.
ALTER TABLE ledger_entries ADD COLUMN usage_details TEXT;
