-- What a call may use at most beside tokens: searches and the other tools of its provider, each with a rate of its own.
ALTER TABLE reservations ADD COLUMN beside TEXT;
UPDATE reservations SET beside = json_object('searches', searches) WHERE searches > 0;
ALTER TABLE reservations DROP COLUMN searches;
