import type { z } from 'zod';
import type { ControlCall } from '../../base/control.ts';
import type { ControlArgs } from '../../base/control/frames.ts';
import { ConnectorError } from '../../model/errors.ts';
import type { AppContext } from '../context.ts';

export type Command = (app: AppContext, call: ControlCall) => unknown;

/** A command whose arguments are checked before it sees them: they come through a socket. */
export function defineCommand<Shape extends z.ZodType>(
  shape: Shape,
  run: (app: AppContext, args: z.output<Shape>, call: ControlCall) => unknown,
): Command {
  return (app, call) => run(app, parse(shape, call.args), call);
}

function parse<Shape extends z.ZodType>(shape: Shape, args: ControlArgs): z.output<Shape> {
  const result = shape.safeParse(args);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new ConnectorError('USAGE', { problem: `--${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'not valid'}.` });
}
