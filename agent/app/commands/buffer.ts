import { z } from 'zod';
import { isoJst } from '../../base/clock.ts';
import { backUp } from '../../flow/backup.ts';
import { discardQuarantined, releaseQuarantined } from '../../flow/quarantine.ts';
import { verifyBuffer } from '../../flow/verify.ts';
import { ConnectorError } from '../../model/errors.ts';
import { categories } from '../../model/category.ts';
import type { AppContext } from '../context.ts';
import { databasePath } from '../open-store.ts';
import { defineCommand } from './command.ts';

/** Shown at once; a person works through so many, then asks again. */
const listMax = 500;

const rows = z.array(z.number().int().positive()).min(1).max(10_000);

/** What is set aside, missing, and kept safe. Records are named by row number: nothing else of them may be shown. */
export const bufferCommands = {
  'quarantine.list': defineCommand(z.strictObject({ after: z.number().optional() }), (app, { after }) => {
    const sources = app.store.names.sources();
    return app.store.records
      .quarantined(after ?? 0, listMax)
      .map(({ id, source, quarantine, bytes, at, category }) => ({
        row: id,
        source: sources.get(source),
        reason: quarantine,
        category,
        bytes,
        at: isoJst(at),
      }));
  }),

  'quarantine.release': defineCommand(
    z.strictObject({ rows, patient: z.string().optional(), category: z.enum(categories).optional() }),
    async (app, args) => {
      const as = {
        ...(args.patient !== undefined && { patient: app.registerFolder.nameOf(args.patient) }),
        ...(args.category !== undefined && { category: args.category }),
      };
      return { released: args.rows.map((row) => ({ row, outcome: releaseQuarantined(app.store, row, as) })) };
    },
  ),

  'quarantine.discard': defineCommand(z.strictObject({ rows }), async (app, args) => {
    for (const row of args.rows) await app.finish(discardQuarantined(app.store, row));
    return { discarded: args.rows.length };
  }),

  gaps: defineCommand(z.strictObject({}), (app) => {
    const sources = app.store.names.sources();
    return app.store.memory
      .gaps(listMax)
      .map(({ id, source, code, at }) => ({ gap: id, source: sources.get(source), code, since: isoJst(at) }));
  }),

  backup: defineCommand(z.strictObject({ to: z.string().min(1) }), (app, { to }, call) =>
    backup(app, to, call.progress),
  ),

  'buffer.verify': defineCommand(z.strictObject({}), async (app, _args, call) => {
    const result = await verifyBuffer(app.store, call.signal, (done, total) =>
      call.progress({ done, total, unit: 'records' }),
    );
    if (result.damaged.length > 0) {
      throw new ConnectorError('BUFFER_DAMAGED', {
        count: result.damaged.length,
        rows: result.damaged.slice(0, 20).join(', '),
      });
    }
    return result;
  }),
};

async function backup(app: AppContext, to: string, progress: (value: unknown) => void) {
  const result = await backUp(
    app.store,
    { state: app.config.state, database: databasePath(app.config), to },
    (done, total) => progress({ done, total, unit: 'files' }),
  );
  app.settings.set('last-backup', String(app.time.now()));
  app.settings.set('backup-folder', result.folder);
  return result;
}
