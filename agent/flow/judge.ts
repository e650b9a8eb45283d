import type { Category } from '../model/category.ts';
import type { SubjectId, Verdict } from '../model/ports.ts';
import type { ProducerRow, Store } from './store.ts';

/** What the gate is asked about a record: one subject, or the two of a merge. */
export interface Judged {
  readonly subject: SubjectId | null;
  readonly also: SubjectId | null;
  readonly category: string;
}

/** The strictest verdict over everyone the record speaks of. A record of nobody is held. */
export function judge(store: Store, record: Judged, producer: ProducerRow): Verdict {
  if (record.subject === null) return { pass: false, act: 'hold', reason: 'unclassified' };
  const category = record.category as Category;
  const first = store.gate.judge({ subject: record.subject, category, producer: producer.name });
  if (record.also === null || record.also === record.subject) return first;
  const second = store.gate.judge({ subject: record.also, category, producer: producer.name });
  return strictest(first, second);
}

/** This person has said no; everything else may change by itself. */
export function isRefusal(verdict: Verdict): boolean {
  return !verdict.pass && verdict.act === 'refuse';
}

function strictest(a: Verdict, b: Verdict): Verdict {
  return severity(a) >= severity(b) ? a : b;
}

function severity(verdict: Verdict): number {
  if (verdict.pass) return 0;
  return verdict.act === 'hold' ? 1 : 2;
}

/** Asks each distinct (subject, also, category) once. */
export class Docket {
  readonly #store: Store;
  readonly #producer: ProducerRow;
  readonly #seen = new Map<string, Verdict>();

  constructor(store: Store, producer: ProducerRow) {
    this.#store = store;
    this.#producer = producer;
  }

  judge(record: Judged): Verdict {
    const key = `${record.subject}/${record.also}/${record.category}`;
    const known = this.#seen.get(key);
    if (known) return known;
    const verdict = judge(this.#store, record, this.#producer);
    this.#seen.set(key, verdict);
    return verdict;
  }
}
