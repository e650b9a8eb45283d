/** What may happen to the connector, each as one step of product and model side by side. */
import { mkdirSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { addDays } from '../../agent/base/clock.ts';
import { assign } from '../../agent/flow/assign.ts';
import { parcelPath } from '../../agent/flow/pack.ts';
import { permit, publish } from '../../agent/flow/publish.ts';
import { expire } from '../../agent/flow/refresh.ts';
import { addFiling, notify } from '../../agent/flow/register.ts';
import { settleVoid } from '../../agent/flow/settle.ts';
import { crashPoints } from '../../agent/flow/store.ts';
import { type Flow, merge, nameOf, record, today } from '../flow/harness.ts';
import { basisOf, type Item, type Model, type ParcelModel, type Producer, producers, type StopBasis } from './model.ts';
import { compare, expectSame, type System } from './system.ts';

interface Acts<T> {
  readonly words: string;
  /** What it is about in this history, or undefined when it cannot happen now. */
  readonly about: (model: Model) => T | undefined;
  readonly product: (flow: Flow, about: T) => unknown;
  /** Returns what the product must have returned. */
  readonly model: (model: Model, about: T) => unknown;
}

class Step<T> implements fc.AsyncCommand<Model, System> {
  readonly #acts: Acts<T>;

  constructor(acts: Acts<T>) {
    this.#acts = acts;
  }

  check(model: Readonly<Model>): boolean {
    return this.#acts.about(model as Model) !== undefined;
  }

  async run(model: Model, system: System): Promise<void> {
    const { words, about, product, model: expected } = this.#acts;
    const subject = about(model) as T;
    try {
      const found = await product(system.flow, subject);
      expectSame(words, found, expected(model, subject));
    } catch (error) {
      if (!system.hasCrashed) throw error;
      const { armed = '' } = system;
      // What was committed has happened; what was only journaled happens at the next start.
      if (armed.endsWith(':committed') || armed.startsWith('stop:')) expected(model, subject);
    }
    if (system.hasCrashed) await system.restart(model);
    compare(model, system);
  }

  toString(): string {
    return this.#acts.words;
  }
}

const patients = ['1', '2', '3', '4'] as const;
const patient = fc.constantFrom(...patients);
const producer = fc.constantFrom(...producers);
const stopBasis = fc.constantFrom<StopBasis>('article-57', 'article-52', 'all');
const lane = fc.constantFrom('text', 'image');
const items = fc.constantFrom<readonly Item[]>(['lab-result', 'image', 'demographics'], ['lab-result'], ['image']);
const always = () => true as const;

const one = fc.record({ patient, item: fc.constantFrom<Item>('lab-result', 'image'), n: fc.constantFrom(1, 2) });

/** Up to three senders at once: their offers share a transaction. */
const accept = fc.array(one, { minLength: 1, maxLength: 3 }).map((offered) => {
  const keyed = offered.map((each) => ({ ...each, key: `HIS|${each.patient}|${each.item}|${each.n}` }));
  return new Step({
    words: `accept ${keyed.map(({ key }) => key).join(' + ')}`,
    about: always,
    product: async (flow) => {
      const offers = keyed.map(({ key, patient, item }) =>
        flow.offer(record({ key, patient, category: item, lane: item === 'image' ? 'image' : 'text' })),
      );
      const settled = await Promise.allSettled(offers);
      return settled.map((each) => {
        if (each.status === 'rejected') throw each.reason;
        return each.value[0]?.outcome;
      });
    },
    model: (model) => keyed.map(({ key, patient, item }) => model.accept({ key, people: [patient], item })),
  });
});

const unite = fc
  .tuple(patient, patient)
  .filter(([a, b]) => a !== b)
  .map(
    ([prior, surviving]) =>
      new Step({
        words: `merge ${prior} into ${surviving}`,
        about: always,
        product: (flow) => flow.outcomes(merge(prior, surviving)),
        model: (model) => [
          model.accept(
            { key: `A40|${prior}|${surviving}`, people: [surviving, prior], item: 'demographics' },
            { prior, surviving },
          ),
        ],
      }),
  );

/** Mostly somebody looks at the register afterwards: a stale one pauses everything, and little can go wrong then. */
const pass = fc.tuple(fc.constantFrom(1, 1, 3, 15, 33), fc.constantFrom(true, true, true, false)).map(
  ([days, isLookedAt]) =>
    new Step({
      words: `${days} day(s) pass${isLookedAt ? ' and somebody looks at the register' : ''}`,
      about: always,
      product: (flow) => {
        flow.time.advanceDays(days);
        if (isLookedAt) flow.fresh();
      },
      model: (model) => {
        model.day += days;
        if (isLookedAt) model.refreshedOn = model.day;
      },
    }),
);

const trust = fc.constantFrom(true, true, true, false).map(
  (isTrusted) =>
    new Step({
      words: `the clock is ${isTrusted ? '' : 'not '}trusted`,
      about: always,
      product: (flow) => void (flow.time.isBelieved = isTrusted),
      model: (model) => void (model.isClockTrusted = isTrusted),
    }),
);

const tell = fc
  .record({ patient, to: producer, text: fc.constantFrom('all', 'lab'), ago: fc.constantFrom(0, 20, 31, 32, 60) })
  .map(
    ({ patient, to, text, ago }) =>
      new Step({
        words: `patient ${patient} was told ${text} for ${to} ${ago} day(s) ago`,
        about: (model) => ({ day: model.day - ago }),
        product: (flow, { day }) =>
          notify(flow.store, {
            name: nameOf(patient),
            version: versionOf(to, text),
            on: addDays(today, day),
            via: 'test',
          }),
        model: (model, { day }) => model.tell(patient, basisOf[to], text, day),
      }),
  );

export function versionOf(to: Producer, text: string): string {
  return `${text}-${basisOf[to]}`;
}

const file = fc.record({ to: producer, items, ahead: fc.constantFrom(-50, 0, 2) }).map(
  ({ to, items, ahead }) =>
    new Step({
      words: `filed ${items.join()} for ${to} from ${ahead} day(s) from now`,
      about: (model) => ({ day: model.day + ahead }),
      product: (flow, { day }) =>
        addFiling(
          flow.store,
          { producer: to, basis: basisOf[to], categories: items, from: addDays(today, day) },
          'test',
        ),
      model: (model, { day }) => model.file(to, items, day),
    }),
);

const stop = fc.tuple(patient, stopBasis).map(
  ([who, basis]) =>
    new Step({
      words: `patient ${who} stops ${basis}`,
      about: always,
      product: (flow) => flow.stop(who, basis).then(() => undefined),
      model: (model) => model.stop(who, basis),
    }),
);

const withdraw = fc.tuple(patient, stopBasis).map(
  ([who, basis]) =>
    new Step({
      words: `patient ${who} withdraws ${basis}`,
      about: always,
      product: (flow) => void flow.withdraw(who, basis),
      model: (model) => model.withdraw(who, basis),
    }),
);

const refresh = fc.constant(
  new Step({
    words: 'refresh',
    about: always,
    product: (flow) => flow.refresh().then(() => undefined),
    model: (model) => model.refresh(),
  }),
);

const expireAll = fc.constant(
  new Step({
    words: 'expire',
    about: always,
    product: (flow) => flow.finish(expire(flow.store, flow.time.now()).after),
    model: (model) => model.expire(),
  }),
);

const bindTo = (to: Producer, which: string) =>
  new Step({
    words: `assign ${which} to ${to}`,
    about: (model): { mayBind: boolean; row?: number } => ({
      mayBind: model.packing(to) === undefined && model.readyOf(to, which).length > 0,
    }),
    product: (flow, about) => {
      const row = assign(flow.store, flow.producer(to), { lane: which === 'image' ? 'image' : 'text' });
      if (row !== undefined && about.mayBind) about.row = row;
      return about.mayBind ? row !== undefined : row === undefined || flow.parcel(row).sha256 === null;
    },
    model: (model, { row }) => {
      if (row !== undefined) model.assign(to, which, row);
      return true;
    },
  });

/** Without encryption, which has tests of its own: a file, and its row. */
const wrapFor = (to: Producer) =>
  new Step({
    words: `pack for ${to}`,
    about: (model) => without(model.packing(to), (parcel) => parcel.hasFile),
    product: ({ store }, { row }) => {
      mkdirSync(store.parcelsFolder, { recursive: true });
      const { pid, lane: of } = parcelOf(store, row);
      writeFileSync(parcelPath(store, { pid, lane: of }), 'sealed');
      store.reached('pack:file-durable');
      const provision = store.ledger.sealProvision(pid, Buffer.from('[]'));
      store.parcels.packed(row, { bytes: 6, sha256: 'ab'.repeat(32), subjects: 1, provision });
    },
    model: (_, parcel) => void (parcel.hasFile = true),
  });

function parcelOf(store: Flow['store'], row: number) {
  const parcel = store.parcels.get(row);
  if (!parcel) throw new Error('no such parcel');
  return parcel;
}

function without<T>(value: T | undefined, isUnfit: (value: T) => boolean): T | undefined {
  return value === undefined || isUnfit(value) ? undefined : value;
}

const publishTo = (to: Producer) =>
  new Step({
    words: `publish to ${to}`,
    about: (model) => without(model.packing(to), (parcel) => !parcel.hasFile),
    product: async (flow, { row }) => {
      const result = publish(flow.store, flow.producer(to), row);
      if (result.kind === 'void') await flow.finish(result.after);
      return result.kind;
    },
    model: (model, parcel) => model.publish(parcel),
  });

/** One of the parcels in some state, by a number that stays meaningful while a history shrinks. */
const pick = (...states: readonly ParcelModel['state'][]) =>
  fc.nat(3).map((n) => (model: Model) => {
    const fit = model.parcels.filter(({ state }) => states.includes(state));
    return fit[n % Math.max(fit.length, 1)];
  });

const ask = pick('sealed', 'voiding', 'stored', 'void').map(
  (about) =>
    new Step({
      words: 'ask before a part',
      about,
      product: (flow, { row, producer: to }) => permit(flow.store, flow.producer(to), parcelOf(flow.store, row).pid),
      model: (model, parcel) => model.permit(parcel),
    }),
);

const send = pick('sealed').map(
  (about) =>
    new Step({
      words: 'the last byte leaves',
      about,
      product: ({ store }, { row }) => {
        store.parcels.move(row, 'uploading');
        store.parcels.sending(row, 6);
      },
      model: (_, parcel) => void (parcel.hasLeftWhole = true),
    }),
);

const receive = pick('sealed', 'voiding').map(
  (about) =>
    new Step({
      words: 'stored (too late for a DELETE)',
      about,
      product: (flow, { row }) => flow.answered(parcelOf(flow.store, row), 'stored'),
      model: (model, parcel) => model.stored(parcel),
    }),
);

const answer = fc.tuple(pick('stored'), fc.constantFrom('opened', 'opened', 'rejected')).map(
  ([about, status]) =>
    new Step({
      words: status,
      about,
      product: (flow, { row }) => flow.answered(parcelOf(flow.store, row), status),
      model: (model, parcel) => model.answered(parcel, status),
    }),
);

const letGo = fc.tuple(pick('voiding'), fc.boolean()).map(
  ([about, atomic]) =>
    new Step({
      words: `DELETE answered 204${atomic ? '' : ', without a promise'}`,
      about,
      product: async (flow, { row, producer: to }) =>
        flow.finish(settleVoid(flow.store, flow.producer(to), row, { atomic })),
      model: (model, parcel) => model.voided(parcel, atomic),
    }),
);

/** Several steps in a row, as far as each can happen: without them few histories would get as far as a receipt. */
class Row implements fc.AsyncCommand<Model, System> {
  readonly #steps: readonly fc.AsyncCommand<Model, System>[];

  constructor(steps: readonly fc.AsyncCommand<Model, System>[]) {
    this.#steps = steps;
  }

  check(): boolean {
    return true;
  }

  async run(model: Model, system: System): Promise<void> {
    for (const step of this.#steps) if (step.check(model)) await step.run(model, system);
  }

  toString(): string {
    return `(${this.#steps.map((step) => step.toString()).join(', ')})`;
  }
}

const bind = fc.tuple(producer, lane).map(([to, which]) => bindTo(to, which));
const wrap = producer.map(wrapFor);
const announce = producer.map(publishTo);
const ship = fc.tuple(producer, lane).map(([to, which]) => new Row([bindTo(to, which), wrapFor(to), publishTo(to)]));
const settleAll = fc.tuple(letGo, receive, answer).map((steps) => new Row(steps));

class Restart implements fc.AsyncCommand<Model, System> {
  check(): boolean {
    return true;
  }

  async run(model: Model, system: System): Promise<void> {
    await system.restart(model);
    compare(model, system);
  }

  toString(): string {
    return 'restart';
  }
}

/** Receipts are rare, so their points are asked for more often. */
const arm = fc.constantFrom(...crashPoints, ...crashPoints.filter((point) => point.startsWith('settle'))).map(
  (point): fc.AsyncCommand<Model, System> => ({
    check: () => true,
    run: (_, system) => Promise.resolve(void (system.armed = point)),
    toString: () => `arm ${point}`,
  }),
);

/** How likely each is: a history gets somewhere only if records come and parcels go. */
const weights = new Map<fc.Arbitrary<fc.AsyncCommand<Model, System>>, number>([
  [accept, 3],
  [unite, 1],
  [tell, 1],
  [file, 1],
  [stop, 1],
  [withdraw, 1],
  [pass, 2],
  [trust, 1],
  [refresh, 2],
  [expireAll, 1],
  [bind, 1],
  [wrap, 1],
  [announce, 1],
  [ship, 3],
  [ask, 2],
  [send, 1],
  [receive, 1],
  [answer, 1],
  [letGo, 1],
  [settleAll, 2],
  [arm, 2],
  [fc.constant(new Restart()), 1],
]);

export const commands = [...weights].flatMap(([command, weight]) => Array.from({ length: weight }, () => command));
