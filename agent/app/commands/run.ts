import { z } from 'zod';
import { ConnectorError } from '../../model/errors.ts';
import type { ControlCall } from '../../base/control.ts';
import type { AppContext } from '../context.ts';
import { pullJob, shipJob } from '../jobs.ts';
import { believe } from '../../flow/epoch.ts';
import { defineCommand } from './command.ts';

const optionalName = z.strictObject({ name: z.string().optional() });

/** Sources and shipping: one run now, pause, resume; and how everything is. */
export const runCommands = {
  status: defineCommand(z.strictObject({}), async (app) => {
    if (!app.isServing) await app.disk.check();
    return { ...app.status(), running: app.isServing };
  }),

  pull: defineCommand(optionalName, async (app, { name }, call) => {
    const polling = [...app.sources.values()].filter((part) => part.polls).map((part) => part.name);
    const chosen = choose(name, { known: [...app.sources.keys()], all: polling, what: 'source' });
    if (name !== undefined && !polling.includes(name)) {
      throw new ConnectorError('USAGE', { problem: `The source ${name} only listens; there is nothing to pull.` });
    }
    return runAll(
      app,
      chosen.map((source) => [source, pullJob(source)] as const),
      call,
    );
  }),

  ship: defineCommand(
    z.strictObject({ name: z.string().optional(), rejected: z.boolean().optional() }),
    async (app, args, call) => {
      const chosen = choose(args.name, {
        known: [...app.producers.keys()],
        all: [...app.producers.keys()],
        what: 'producer',
      });
      if (args.rejected) for (const name of chosen) reviveRejected(app, name);
      await app.housekeeper.look();
      return runAll(
        app,
        chosen.map((producer) => [producer, shipJob(producer)] as const),
        call,
      );
    },
  ),

  pause: defineCommand(optionalName, (app, { name }) => setPaused(app, name, 'pause')),
  resume: defineCommand(optionalName, (app, { name }) => setPaused(app, name, 'resume')),
};

async function runAll(app: AppContext, jobs: readonly (readonly [string, string])[], call: ControlCall) {
  const results: Record<string, unknown> = {};
  for (const [name, job] of jobs) {
    results[name] = await app.runNow(job, (state) => call.progress({ name, ...state }));
  }
  return results;
}

async function setPaused(app: AppContext, name: string | undefined, act: 'pause' | 'resume') {
  const all = [...app.sources.keys(), ...app.producers.keys()];
  const chosen = choose(name, { known: all, all, what: 'source or producer' });
  if (act === 'pause') for (const part of chosen) await app.pause(part);
  else for (const part of chosen) await app.resume(part);
  // Resuming everything is also the word that a restored state is to be believed.
  if (act === 'resume' && name === undefined) {
    believe(app.store);
    await app.leaveSafeMode();
  }
  app.store.ledger.append(act, app.time.now(), { parts: chosen });
  return { [act === 'pause' ? 'paused' : 'resumed']: chosen };
}

function reviveRejected(app: AppContext, producer: string): void {
  const { db, deliveries, names } = app.store;
  db.transaction(() => deliveries.reviveRejected(names.producer(producer))).immediate();
}

function choose(
  name: string | undefined,
  { known, all, what }: { known: readonly string[]; all: readonly string[]; what: string },
): readonly string[] {
  if (name === undefined) return all;
  if (known.includes(name)) return [name];
  const list = known.length > 0 ? known.join(', ') : 'none is configured';
  throw new ConnectorError('USAGE', { problem: `There is no ${what} "${name}" (${list}).` });
}
