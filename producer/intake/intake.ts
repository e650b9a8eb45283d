/** The intake as one thing: builds its parts over a key folder and a data folder, starts and stops them. */
import { mkdirSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Db, openDatabase } from '../../agent/base/database.ts';
import { acquireLock, type StateLock } from '../../agent/base/lock.ts';
import { ConnectorError, reasonOf } from '../../agent/model/errors.ts';
import type { Clock, Report } from '../../agent/model/ports.ts';
import { listClients } from '../keys/clients.ts';
import { type KeyFolder, loadKeyFolder } from '../keys/folder.ts';
import { FileStore } from '../storage/file-store.ts';
import type { ParcelStore } from '../storage/store.ts';
import { Agents } from './agents.ts';
import { Heartbeats } from './heartbeats.ts';
import { type IntakeLimits, intakeLimits } from './limits.ts';
import { OfflineReceipts } from './offline-receipts.ts';
import { Opener } from './opener.ts';
import { Parcels } from './parcels.ts';
import { Receipts } from './receipts.ts';
import { Retractions } from './retractions.ts';
import { Revocations } from './revocations.ts';
import { databaseFile, intakeMigration } from './schema.ts';
import { IntakeServer } from './server.ts';
import { Uploads } from './uploads.ts';

export interface IntakeOptions {
  /** The key folder, from `keygen`. */
  readonly keys: string;
  /** The data folder: database, parcels, contents. One process owns it. */
  readonly data: string;
  readonly listen: { readonly host: string; readonly port: number };
  /** Opens what was stored, in the background. Needs an identity in the key folder. */
  readonly isOpening: boolean;
  readonly clock: Clock;
  readonly report: Report;
  readonly limits?: Partial<IntakeLimits>;
  /** For tests of a disk that fails; default a `FileStore` in the data folder. */
  readonly store?: ParcelStore;
}

export interface Intake {
  readonly port: number;
  /** Harmless twice. */
  stop(): Promise<void>;
}

/** How often the folders a person may put something into are looked at: new clients, receipts signed elsewhere. */
const lookMs = 5000;

/**
 * @throws ConnectorError PRODUCER_KEYS_UNUSABLE, REVOCATION_UNREADABLE, STATE_LOCKED, STATE_UNSAFE, STATE_NEWER,
 * INTAKE_LISTEN_FAILED
 */
export async function startIntake(options: IntakeOptions): Promise<Intake> {
  const keys = loadKeyFolder(options.keys);
  if (options.isOpening && keys.identities.length === 0) {
    throw new ConnectorError('PRODUCER_KEYS_UNUSABLE', {
      path: options.keys,
      reason: 'it holds no identity to open with',
    });
  }
  const revocations = new Revocations(keys.revokedPath, options.report);
  mkdirSync(options.data, { recursive: true, mode: 0o700 });
  const lock = acquireLock(options.data);
  let db: Db | undefined;
  try {
    db = openDatabase(join(options.data, databaseFile), [intakeMigration]);
    return await start(options, { keys, revocations, lock, db });
  } catch (error) {
    db?.close();
    lock.release();
    throw error;
  }
}

interface Ground {
  readonly keys: KeyFolder;
  readonly revocations: Revocations;
  readonly lock: StateLock;
  readonly db: Db;
}

async function start(options: IntakeOptions, ground: Ground): Promise<Intake> {
  const { report } = options;
  const { server, opener, uploads, look } = build(options, ground);
  await mkdir(offlineFolder(options), { recursive: true, mode: 0o700 });
  await uploads.recover();
  await look();
  const port = await server.listen(options.listen);
  opener?.start();
  report({ name: 'intake.listening', numbers: { port } });
  const looking = startLooking(look, options);

  const stop = async () => {
    await looking.stop();
    await server.stop();
    await opener?.stop();
    ground.db.close();
    ground.lock.release();
    report({ name: 'intake.stopped' });
  };
  let stopped: Promise<void> | undefined;
  return {
    port,
    stop: () => {
      stopped ??= stop();
      return stopped;
    },
  };
}

function build(options: IntakeOptions, { keys, revocations, db }: Ground) {
  const { data, clock, report } = options;
  const { name: producer, signing, identities } = keys;
  const limits = { ...intakeLimits, ...options.limits };
  const store = options.store ?? new FileStore(data);
  const agents = new Agents(db, producer);
  const parcels = new Parcels(db);
  const receipts = new Receipts(db, { producer, signing, clock });
  const retractions = new Retractions({ db, agents, producer, signing, clock, data });
  const heartbeats = new Heartbeats(db, { agents, clock });
  const opener = options.isOpening
    ? new Opener({ parcels, receipts, retractions, store, identities, data, clock, report })
    : undefined;
  const onRetraction = () => opener?.wake();
  const onStored = ({ agent, parcelId, bytes }: { agent: string; parcelId: string; bytes: number }) => {
    report({ name: 'parcel.stored', source: agent, parcel: parcelId, numbers: { bytes } });
    opener?.wake();
  };
  const uploads = new Uploads({ store, agents, parcels, receipts, limits, clock, onStored });
  const parts = { agents, uploads, receipts, retractions, heartbeats };
  const handling = { producer, ...parts, limits, clock, report, onRetraction };
  const server = new IntakeServer({ tls: keys.tls, revocations, handling });
  const offline = new OfflineReceipts({ folder: offlineFolder(options), keys, parcels, receipts, report });
  const look = async () => {
    for (const { facility, agentKey } of listClients(options.keys)) agents.register(facility, agentKey);
    await offline.issueAll();
    retractions.settleByHand();
  };
  return { server, opener, uploads, look };
}

function offlineFolder({ data }: IntakeOptions): string {
  return join(data, 'offline-receipts');
}

function startLooking(look: () => Promise<void>, { clock, report }: IntakeOptions): { stop(): Promise<void> } {
  const stopping = new AbortController();
  const run = async () => {
    for (;;) {
      await clock.sleep(lookMs, stopping.signal);
      if (stopping.signal.aborted) return;
      await look().catch((error: unknown) => {
        report({ name: 'intake.failed', code: 'INTAKE_FAILED', word: reasonOf(error) });
      });
    }
  };
  const running = run();
  return {
    stop: () => {
      stopping.abort();
      return running;
    },
  };
}
