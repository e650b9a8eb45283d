/**
 * How long each source is usually silent. An EHR feed that says nothing for ten minutes on a Monday morning is broken;
 * the same feed on a Sunday night is asleep. So the longest silence is learned for each hour of the week in which it
 * began, and slowly forgotten.
 */
import type { Db, Migration } from '../base/database.ts';
import type { Instant } from '../model/record.ts';

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const jstOffsetMs = 9 * hourMs;
const hoursOfWeek = 168;

/** Two whole weeks, so that each hour of the week was seen twice, before anything is said. */
const learnMs = 14 * dayMs;

/** A silence is told when it is longer than the usual one by this factor and a little. */
const factor = 2;
const slackMs = 15 * 60_000;

/** What an hour of the week remembers of last week's silence. */
const keptFraction = 0.9;

export const cadenceMigration: Migration = {
  part: 'cadence',
  steps: [
    `CREATE TABLE cadence(
      source TEXT NOT NULL,
      hour INTEGER NOT NULL,
      silence_ms INTEGER NOT NULL,
      seen_at INTEGER NOT NULL,
      PRIMARY KEY (source, hour)
    ) STRICT, WITHOUT ROWID`,
    'CREATE TABLE cadence_since(source TEXT PRIMARY KEY, since INTEGER NOT NULL, last_at INTEGER) STRICT, WITHOUT ROWID',
  ],
};

export interface Silence {
  /** How long it has said nothing. */
  readonly silentMs: number;
  /** The longest usual for the hour it began in; absent while that is being learned. */
  readonly usualMs?: number;
  readonly isUnusual: boolean;
}

interface Hour {
  silenceMs: number;
  seenAt: Instant;
  isChanged: boolean;
}

interface Learned {
  readonly since: Instant;
  readonly hours: Map<number, Hour>;
  /** Before this start. A silence that a stop lies in says nothing of the source, so it is not measured from here. */
  readonly lastAtBefore: Instant | undefined;
  lastAt: Instant | undefined;
}

export class Cadence {
  readonly #db: Db;
  readonly #sources = new Map<string, Learned>();

  constructor(db: Db) {
    this.#db = db;
  }

  /** A source gave something. Cheap: called for each record. */
  note(source: string, at: Instant): void {
    const learned = this.#learned(source, at);
    if (learned.lastAt !== undefined && at > learned.lastAt) learn(learned, learned.lastAt, at);
    learned.lastAt = at;
  }

  /** Undefined for a source that has not given anything since the start. */
  silence(source: string, now: Instant): Silence | undefined {
    const learned = this.#sources.get(source);
    if (learned?.lastAt === undefined) return undefined;
    const silentMs = Math.max(0, now - learned.lastAt);
    const usualMs = usualOf(learned, learned.lastAt, now);
    if (usualMs === undefined) return { silentMs, isUnusual: false };
    return { silentMs, usualMs, isUnusual: silentMs > usualMs * factor + slackMs };
  }

  /** When a source gave something last; after a crash, up to a minute too early. */
  lastAt(source: string): Instant | undefined {
    const { lastAt, lastAtBefore } = this.#sources.get(source) ?? this.#read(source, 0);
    return lastAt ?? lastAtBefore;
  }

  /** Writes what was learned; about once a minute and at the end. */
  save(): void {
    const write = this.#db.prepare(
      `INSERT INTO cadence VALUES (?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET silence_ms = excluded.silence_ms, seen_at = excluded.seen_at`,
    );
    const since = this.#db.prepare(
      'INSERT INTO cadence_since VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET last_at = excluded.last_at',
    );
    this.#db
      .transaction(() => {
        for (const [source, learned] of this.#sources) {
          if (learned.lastAt !== undefined) since.run(source, learned.since, learned.lastAt);
          for (const [hour, entry] of learned.hours) {
            if (entry.isChanged) write.run(source, hour, Math.round(entry.silenceMs), entry.seenAt);
            entry.isChanged = false;
          }
        }
      })
      .immediate();
  }

  #learned(source: string, at: Instant): Learned {
    let learned = this.#sources.get(source);
    if (!learned) {
      learned = this.#read(source, at);
      this.#sources.set(source, learned);
    }
    return learned;
  }

  #read(source: string, at: Instant): Learned {
    const since = this.#db
      .prepare<[string], { since: number; last_at: number | null }>(
        'SELECT since, last_at FROM cadence_since WHERE source = ?',
      )
      .get(source);
    const rows = this.#db
      .prepare<[string], { hour: number; silence_ms: number; seen_at: number }>(
        'SELECT hour, silence_ms, seen_at FROM cadence WHERE source = ?',
      )
      .all(source);
    const hours = rows.map((row): [number, Hour] => [
      row.hour,
      { silenceMs: row.silence_ms, seenAt: row.seen_at, isChanged: false },
    ]);
    return {
      since: since?.since ?? at,
      hours: new Map(hours),
      lastAtBefore: since?.last_at ?? undefined,
      lastAt: undefined,
    };
  }
}

/** Hour of the week in Asia/Tokyo, 0 to 167. */
function hourOf(at: Instant): number {
  return Math.floor((at + jstOffsetMs) / hourMs) % hoursOfWeek;
}

function learn(learned: Learned, from: Instant, to: Instant): void {
  const known = learned.hours.get(hourOf(from));
  const usualMs = usualOf(learned, from, to);
  // An outage is learned slowly: otherwise it would be the new usual, and the next one would pass unnoticed.
  const silenceMs = usualMs === undefined ? to - from : Math.min(to - from, Math.max(usualMs * factor, slackMs));
  if (!known) {
    learned.hours.set(hourOf(from), { silenceMs, seenAt: from, isChanged: true });
    return;
  }
  const isNewWeek = from - known.seenAt > hourMs;
  const keptMs = isNewWeek ? known.silenceMs * keptFraction : known.silenceMs;
  if (!isNewWeek && silenceMs <= keptMs) return;
  known.silenceMs = Math.max(silenceMs, keptMs);
  known.seenAt = isNewWeek ? from : known.seenAt;
  known.isChanged = true;
}

function usualOf(learned: Learned, from: Instant, now: Instant): number | undefined {
  if (now - learned.since < learnMs) return undefined;
  const known = learned.hours.get(hourOf(from));
  return known?.silenceMs ?? Math.max(0, ...[...learned.hours.values()].map(({ silenceMs }) => silenceMs));
}
