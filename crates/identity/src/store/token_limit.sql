CREATE INDEX tokens_user_issued ON tokens (user_id, issued);
