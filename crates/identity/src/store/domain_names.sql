UPDATE users SET name = domain_id || '/' || name WHERE domain_id <> 'default';
UPDATE tenants SET name = domain_id || '/' || name WHERE domain_id <> 'default';
