import type { ControlHandler } from '../base/control.ts';
import { bufferCommands } from './commands/buffer.ts';
import { checkCommands } from './commands/check.ts';
import { ledgerCommands } from './commands/ledger.ts';
import { registerCommands } from './commands/register.ts';
import { runCommands } from './commands/run.ts';
import type { Command } from './commands/command.ts';
import type { AppContext } from './context.ts';

export type { AppContext } from './context.ts';

/** Every command a running agent answers, and a stopped one is opened for. */
export const commands: Readonly<Record<string, Command>> = {
  ...runCommands,
  ...registerCommands,
  ...ledgerCommands,
  ...bufferCommands,
  ...checkCommands,
};

/** `errand` is shown each command while it is at work. */
export function commandHandlers(
  app: AppContext,
  errand: (work: Promise<unknown>) => Promise<unknown>,
): Record<string, ControlHandler> {
  return Object.fromEntries(
    Object.entries(commands).map(([name, command]) => {
      const handler: ControlHandler = (call) => errand((async () => command(app, call))());
      return [name, handler] as const;
    }),
  );
}
