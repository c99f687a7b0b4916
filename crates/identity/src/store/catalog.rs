//! Regions, services and endpoints that operators added to the catalog.

use database::{Error, Row, Tx, params};

use crate::model::{Endpoint, Extra, Interface, Region, ServiceRecord};

fn read_service(mut row: Row) -> Result<ServiceRecord, Error> {
    Ok(ServiceRecord {
        id: row.take(0)?,
        kind: row.take(1)?,
        name: row.take(2)?,
        description: row.take(3)?,
        enabled: row.take(4)?,
        extra: Extra::from_text(&row.take::<String>(5)?),
    })
}

fn read_endpoint(mut row: Row) -> Result<Endpoint, Error> {
    let interface: String = row.take(2)?;
    Ok(Endpoint {
        id: row.take(0)?,
        service_id: row.take(1)?,
        interface: Interface::from_name(&interface).unwrap_or(Interface::Public),
        region: row.take(3)?,
        url: row.take(4)?,
        enabled: row.take(5)?,
        extra: Extra::from_text(&row.take::<String>(6)?),
    })
}

fn read_region(mut row: Row) -> Result<Region, Error> {
    Ok(Region {
        id: row.take(0)?,
        parent_id: row.take(1)?,
        description: row.take(2)?,
        extra: Extra::from_text(&row.take::<String>(3)?),
    })
}

/// Returns added services, ordered by id. Operators add a handful.
pub(crate) async fn services(tx: &mut Tx) -> Result<Vec<ServiceRecord>, Error> {
    let sql = "SELECT id, type, name, description, enabled, extra FROM services ORDER BY id LIMIT 1000";
    tx.rows(sql, &[]).await?.into_iter().map(read_service).collect()
}

/// Inserts or updates a service.
pub(crate) async fn put_service(tx: &mut Tx, service: &ServiceRecord) -> Result<(), Error> {
    let sql = "INSERT INTO services (id, type, name, description, enabled, extra) VALUES ($1, $2, $3, $4, $5, $6)
               ON CONFLICT (id) DO UPDATE SET type = $2, name = $3, description = $4, enabled = $5, extra = $6";
    let s = service;
    tx.execute(sql, params![s.id, s.kind, s.name, s.description, s.enabled, s.extra.to_text()])
        .await
        .map(|_| ())
}

pub(crate) async fn delete_service(tx: &mut Tx, id: &str) -> Result<bool, Error> {
    Ok(tx.execute("DELETE FROM services WHERE id = $1", params![id]).await? == 1)
}

pub(crate) async fn endpoints(tx: &mut Tx) -> Result<Vec<Endpoint>, Error> {
    let sql =
        "SELECT id, service_id, interface, region, url, enabled, extra FROM endpoints ORDER BY id LIMIT 5000";
    tx.rows(sql, &[]).await?.into_iter().map(read_endpoint).collect()
}

/// Inserts or updates an endpoint.
pub(crate) async fn put_endpoint(tx: &mut Tx, endpoint: &Endpoint) -> Result<(), Error> {
    let sql = "INSERT INTO endpoints (id, service_id, interface, region, url, enabled, extra)
               VALUES ($1, $2, $3, $4, $5, $6, $7)
               ON CONFLICT (id) DO UPDATE SET service_id = $2, interface = $3, region = $4, url = $5, enabled = $6,
                 extra = $7";
    let e = endpoint;
    let interface = e.interface.name();
    let extra = e.extra.to_text();
    let params = params![e.id, e.service_id, interface, e.region, e.url, e.enabled, extra];
    tx.execute(sql, params).await.map(|_| ())
}

pub(crate) async fn delete_endpoint(tx: &mut Tx, id: &str) -> Result<bool, Error> {
    Ok(tx.execute("DELETE FROM endpoints WHERE id = $1", params![id]).await? == 1)
}

pub(crate) async fn regions(tx: &mut Tx) -> Result<Vec<Region>, Error> {
    let sql = "SELECT id, parent_id, description, extra FROM regions ORDER BY id LIMIT 1000";
    tx.rows(sql, &[]).await?.into_iter().map(read_region).collect()
}

/// Inserts or updates a region.
pub(crate) async fn put_region(tx: &mut Tx, region: &Region) -> Result<(), Error> {
    let sql = "INSERT INTO regions (id, parent_id, description, extra) VALUES ($1, $2, $3, $4)
               ON CONFLICT (id) DO UPDATE SET parent_id = $2, description = $3, extra = $4";
    tx.execute(sql, params![region.id, region.parent_id, region.description, region.extra.to_text()])
        .await
        .map(|_| ())
}

pub(crate) async fn delete_region(tx: &mut Tx, id: &str) -> Result<bool, Error> {
    Ok(tx.execute("DELETE FROM regions WHERE id = $1", params![id]).await? == 1)
}
