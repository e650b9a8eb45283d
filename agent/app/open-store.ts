import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDatabase } from '../base/database.ts';
import { KeyRing, keysMigration, readSiteKey } from '../base/keys.ts';
import { secretFile } from '../base/secret.ts';
import { Settings, settingsMigration } from '../base/settings.ts';
import { software } from '../base/version.ts';
import { Deliveries } from '../buffer/deliveries.ts';
import { Names } from '../buffer/names.ts';
import { Parcels } from '../buffer/parcels.ts';
import { Records } from '../buffer/records.ts';
import { Retractions } from '../buffer/retractions.ts';
import { bufferMigration } from '../buffer/schema.ts';
import { SourceMemory } from '../buffer/source-memory.ts';
import { Spool } from '../buffer/spool.ts';
import type { Config, ProducerConfig } from '../config/schema.ts';
import { StopJournal } from '../flow/stop-journal.ts';
import type { ProducerRow, Store } from '../flow/store.ts';
import { RegisterGate } from '../gate/gate.ts';
import { Register } from '../gate/register.ts';
import { gateMigration } from '../gate/schema.ts';
import { Subjects } from '../gate/subjects.ts';
import { cadenceMigration, clockMigration, heartbeatMigration, TrustedClock } from '../health/index.ts';
import { Ledger, ledgerMigration } from '../ledger/ledger.ts';
import { ConnectorError, reasonOf } from '../model/errors.ts';
import type { Clock, Report } from '../model/ports.ts';
import { parseRecipients } from '../parcel/recipients.ts';
import { scheduleMigration } from '../schedule/index.ts';

/** Every table of the state database, part by part. */
export const migrations = [
  keysMigration,
  settingsMigration,
  gateMigration,
  bufferMigration,
  ledgerMigration,
  scheduleMigration,
  cadenceMigration,
  heartbeatMigration,
  clockMigration,
] as const;

export function databasePath(config: Pick<Config, 'state'>): string {
  return join(config.state, 'connector.sqlite');
}

const dayMs = 86_400_000;

export interface OpenedStore {
  readonly store: Store;
  readonly time: TrustedClock;
  readonly settings: Settings;
}

interface OpenOptions {
  readonly clock: Clock;
  readonly report: Report;
  /** Path of the database, where it is not the state's own: a restored one that has not taken effect. */
  readonly database?: string;
}

/**
 * Opens the state of a configuration; the caller holds its lock.
 *
 * @throws ConnectorError KEY_UNREADABLE, SEAL_BROKEN, STATE_UNSAFE, STATE_NEWER, RECIPIENTS_INVALID, FILE_UNREADABLE
 */
export function openStore(config: Config, options: OpenOptions): OpenedStore {
  const { clock, report, database = databasePath(config) } = options;
  const siteKey = readSiteKey(secretFile(config.keys.site, process.env));
  const recipients = new Map(config.producers.map((producer) => [producer.name, readRecipients(producer)]));
  const db = openDatabase(database, migrations);
  try {
    const keys = KeyRing.open(db, siteKey);
    const time = new TrustedClock({ db, clock, report });
    const settings = new Settings(db);
    return { store: assemble(config, { db, keys, time, settings, report, recipients }), time, settings };
  } catch (error) {
    db.close();
    throw error;
  }
}

interface Parts {
  readonly db: Store['db'];
  readonly keys: KeyRing;
  readonly time: TrustedClock;
  readonly settings: Settings;
  readonly report: Report;
  readonly recipients: ReadonlyMap<string, readonly string[]>;
}

function assemble(config: Config, { db, keys, time, settings, report, recipients }: Parts): Store {
  const names = new Names(db);
  const producers = config.producers.map(({ name }): ProducerRow => {
    return { id: names.producer(name), name, recipients: recipients.get(name) ?? [] };
  });
  for (const { name, succeeds } of config.sources) names.source(name, succeeds);
  const register = new Register(db);
  const spool = new Spool(join(config.state, 'spool'), keys, config.limits.recordBytes);
  const { waitingDays, maxAge: maxAgeMs } = config.register;
  return {
    db,
    keys,
    settings,
    time,
    facility: config.facility.code,
    software,
    epoch: Number(settings.get('epoch') ?? 1),
    producers,
    holdMs: config.hold.days * dayMs,
    parcelsFolder: join(config.state, 'parcels'),
    subjects: new Subjects(db, keys, register),
    register,
    gate: new RegisterGate(db, register, time, { producers: config.producers, waitingDays, maxAgeMs }),
    names,
    records: new Records(db, keys, spool),
    deliveries: new Deliveries(db),
    parcels: new Parcels(db),
    retractions: new Retractions(db, keys),
    memory: new SourceMemory(db, keys),
    spool,
    ledger: new Ledger(db, keys),
    journal: new StopJournal(join(config.state, 'stops.journal'), keys),
    report,
    reached: () => undefined,
  };
}

function readRecipients({ recipients: path }: ProducerConfig): readonly string[] {
  try {
    return parseRecipients(readFileSync(path, 'utf8'));
  } catch (cause) {
    if (cause instanceof ConnectorError) throw cause;
    throw new ConnectorError('FILE_UNREADABLE', { path, reason: reasonOf(cause) }, { cause });
  }
}
