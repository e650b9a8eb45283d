/** All hospitals at a glance, worst first. Counts, ages and words; nothing here could name a patient. */
import type { Db } from '../../agent/base/database.ts';
import type { Instant } from '../../agent/model/record.ts';
import { stuckAttempts } from '../intake/parcels.ts';
import { readHeartbeat } from './heartbeat.ts';

/** What is the matter, from worst to best; the order of the page. */
export const conditions = [
  'never-seen',
  'silent',
  'stopped-by-fault',
  'safe',
  'rejected',
  'stuck',
  'retraction-open',
  'gap',
  'attention',
  'paused',
  'unknown',
  'ok',
] as const;
type Condition = (typeof conditions)[number];

export interface Hospital {
  readonly facility: string;
  readonly condition: Condition;
  /** The agent's own word in its last heartbeat. */
  readonly state?: string;
  readonly advice: readonly string[];
  readonly heartbeatAgeMs?: number | undefined;
  readonly lastParcelAgeMs?: number | undefined;
  /** Highest parcel sequence announced. */
  readonly sequence: number;
  /** Sequence numbers below it that never came and were not voided. */
  readonly gaps: number;
  readonly openRetractions: number;
  readonly oldestRetractionAgeMs?: number | undefined;
  /** Stored and not opened yet. */
  readonly waiting: number;
  /** Ever; the condition asks only for the last one, since the agent sends what was in it again. */
  readonly rejected: number;
  /** Of those waiting: opening them ended the process again and again. */
  readonly stuck: number;
  readonly oldestUnsentMs?: number | undefined;
  readonly certificateDaysLeft?: number | undefined;
  readonly version?: string;
}

/** An agent tells of itself every minute; a quarter of an hour without is a line or a machine that is down. */
const silentAfterMs = 15 * 60_000;

interface Row {
  code: string;
  heartbeatAt: Instant | null;
  heartbeat: string | null;
  helloAt: Instant | null;
  storedAt: Instant | null;
  sequence: number;
  sequencesSeen: number;
  buriedUnseen: number;
  retractions: number;
  oldestRetraction: Instant | null;
  waiting: number;
  rejected: number;
  isLastRejected: number | null;
  stuck: number;
}

const query = `SELECT code, heartbeat_at AS heartbeatAt, heartbeat_body AS heartbeat, hello_at AS helloAt,
  stored_at AS storedAt, sequence_max AS sequence,
  (SELECT count(DISTINCT sequence) FROM parcel WHERE agent = code) AS sequencesSeen,
  (SELECT count(*) FROM parcel WHERE agent = code AND sequence IS NULL) AS buriedUnseen,
  (SELECT count(*) FROM retraction WHERE agent = code AND applied <= 0) AS retractions,
  (SELECT min(at) FROM retraction WHERE agent = code AND applied <= 0) AS oldestRetraction,
  (SELECT count(*) FROM parcel WHERE agent = code AND state = 'stored') AS waiting,
  (SELECT count(*) FROM parcel WHERE agent = code AND state = 'stored' AND attempts >= ${stuckAttempts}) AS stuck,
  (SELECT count(*) FROM receipt WHERE agent = code AND status = 'rejected') AS rejected,
  (SELECT status = 'rejected' FROM receipt WHERE agent = code AND status <> 'stored'
    ORDER BY receipt_sequence DESC LIMIT 1) AS isLastRejected
  FROM agent`;

export function readFleet(db: Db, now: Instant): Hospital[] {
  const hospitals = db
    .prepare<[], Row>(query)
    .all()
    .map((row) => hospitalOf(row, now));
  return hospitals.toSorted((a, b) => rank(a) - rank(b) || age(b) - age(a) || a.facility.localeCompare(b.facility));
}

function hospitalOf(row: Row, now: Instant): Hospital {
  const facts = row.heartbeat === null ? { advice: [] } : readHeartbeat(row.heartbeat);
  // An id that was voided before it was ever announced has taken a number with it that nobody told us.
  const gaps = Math.max(0, row.sequence - row.sequencesSeen - row.buriedUnseen);
  const hospital = {
    ...facts,
    facility: row.code,
    heartbeatAgeMs: ageOf(row.heartbeatAt, now),
    lastParcelAgeMs: ageOf(row.storedAt, now),
    oldestRetractionAgeMs: ageOf(row.oldestRetraction, now),
    sequence: row.sequence,
    gaps,
    openRetractions: row.retractions,
    waiting: row.waiting,
    rejected: row.rejected,
    stuck: row.stuck,
  };
  return { ...hospital, condition: conditionOf(hospital, row) };
}

function conditionOf(hospital: Omit<Hospital, 'condition'>, row: Row): Condition {
  const { heartbeatAgeMs, state = 'unknown' } = hospital;
  if (row.helloAt === null && row.heartbeatAt === null) return 'never-seen';
  if (heartbeatAgeMs === undefined || heartbeatAgeMs > silentAfterMs) return 'silent';
  const told = conditions.find((condition) => condition === state) ?? 'unknown';
  const found: Condition[] = [told];
  if (row.isLastRejected === 1) found.push('rejected');
  if (hospital.stuck > 0) found.push('stuck');
  if (hospital.openRetractions > 0) found.push('retraction-open');
  if (hospital.gaps > 0) found.push('gap');
  return conditions.find((condition) => found.includes(condition)) ?? 'unknown';
}

function rank({ condition }: Hospital): number {
  return conditions.indexOf(condition);
}

function age({ heartbeatAgeMs = Number.MAX_SAFE_INTEGER }: Hospital): number {
  return heartbeatAgeMs;
}

function ageOf(at: Instant | null, now: Instant): number | undefined {
  return at === null ? undefined : Math.max(0, now - at);
}
