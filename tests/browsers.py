"""Headless Chromium for tests of pages; they are skipped, with the reason, where it is not installed."""

import contextlib
import shutil
import time

import pytest

FLAGS = ('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage')
WAIT_SECS = 60  # a busy machine takes seconds for what takes milliseconds otherwise


@contextlib.contextmanager
def chromium(*flags):
    """A driver of Selenium, whose requests and console can be read."""
    webdriver = pytest.importorskip('selenium.webdriver', reason='selenium is not installed')
    programs = [shutil.which('chromium') or shutil.which('google-chrome'), shutil.which('chromedriver')]
    if None in programs:
        pytest.skip('chromium and chromedriver (Debian: chromium-driver) are not installed')
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in (*FLAGS, *flags):
        options.add_argument(flag)
    options.set_capability('goog:loggingPrefs', {'performance': 'ALL', 'browser': 'ALL'})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1]))
    try:
        yield driver
    finally:
        driver.quit()


def wait_for(driver, expression):
    """Waits until a JavaScript expression is true; returns its value."""
    end = time.monotonic() + WAIT_SECS
    while not (value := driver.execute_script(f'return {expression}')):
        text = driver.execute_script('return document.body.innerText')
        assert time.monotonic() < end, f'{expression} stays {value!r}; the page shows:\n{text}'
        time.sleep(0.05)
    return value
