-- Of a call: the most searches of the provider that its request allows.
ALTER TABLE reservations ADD COLUMN searches INTEGER NOT NULL DEFAULT 0;
