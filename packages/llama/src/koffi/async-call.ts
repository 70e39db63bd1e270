interface NativeFunction {
  async(...parameters: unknown[]): void;
}

/** Runs a native function on a thread of the pool. What it uses must stay alive until the promise settles. */
export function offThread<T>(native: NativeFunction, ...parameters: unknown[]): Promise<T> {
  return new Promise((resolve, reject) => {
    native.async(...parameters, (error: Error | null, result: T) => {
      if (error === null || error === undefined) resolve(result);
      else reject(error);
    });
  });
}
