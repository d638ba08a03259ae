@echo off
rem Starts EveryFrame without any knowledge of a terminal: finds or fetches uv, sets up, opens the dashboard.
rem What it installs lies in launch\.uv and launch\.venv beside it, and in uv's own folders; PATH is not changed.
rem Delayed expansion stays off: with it, a folder with an exclamation mark in its name would not be found.
setlocal EnableExtensions DisableDelayedExpansion
title EveryFrame
pushd "%~dp0.." || goto :no_folder
if not exist requirements.lock goto :no_folder

rem uv is fetched only where there is none. For these Pythons `make wheels` checks that nothing has to be compiled.
set "UV_VERSION=0.13.9"
set "PYTHONS=>=3.11,<3.14"
set "ENVIRONMENT=%CD%\launch\.venv"
set "PYTHON=%ENVIRONMENT%\Scripts\python.exe"
set "EVERYFRAME=%ENVIRONMENT%\Scripts\everyframe.exe"
set "PYTHONHOME="
set "PYTHONPATH="
set "VIRTUAL_ENV="

call :is_set_up && goto :start

echo Setting EveryFrame up: once, some minutes, about 1 GB on the disk ...
call :find_uv && goto :set_up
echo Fetching uv, which sets EveryFrame up ...
set "UV_UNMANAGED_INSTALL=%CD%\launch\.uv"
"%SystemRoot%\System32\WindowsPowerShell\v1.0\powershell.exe" -NoProfile -ExecutionPolicy Bypass -Command "[Net.ServicePointManager]::SecurityProtocol = 'Tls12'; Invoke-RestMethod https://astral.sh/uv/%UV_VERSION%/install.ps1 | Invoke-Expression" >nul 2>&1
call :find_uv || goto :no_uv

:set_up
if exist "%ENVIRONMENT%" rmdir /s /q "%ENVIRONMENT%"
"%UV%" venv --quiet --python "%PYTHONS%" "%ENVIRONMENT%" || goto :no_python
"%UV%" pip sync --quiet --python "%PYTHON%" --only-binary :all: --require-hashes requirements.lock || goto :no_parts
"%UV%" pip install --quiet --python "%PYTHON%" --no-deps --no-build-isolation --editable . || goto :no_place
copy /y requirements.lock "%ENVIRONMENT%\" >nul || goto :no_place
copy /y pyproject.toml "%ENVIRONMENT%\" >nul || goto :no_place

:start
"%EVERYFRAME%" doctor 2>nul | "%SystemRoot%\System32\find.exe" "ollama.com/download" >nul && (
    echo.
    echo Ollama is missing, which looks at the pictures: get it from https://ollama.com/download; the dashboard opens all the same.
    echo.
)
echo EveryFrame opens in your browser. It is there for as long as this window is open; work that you have started goes on without it.
"%EVERYFRAME%" dashboard
if errorlevel 1 pause
popd
exit /b 0

rem Whether the environment was set up to its end, for these very files, in this very place.
:is_set_up
"%SystemRoot%\System32\fc.exe" /b requirements.lock "%ENVIRONMENT%\requirements.lock" >nul 2>&1 || exit /b 1
"%SystemRoot%\System32\fc.exe" /b pyproject.toml "%ENVIRONMENT%\pyproject.toml" >nul 2>&1 || exit /b 1
if not exist "%EVERYFRAME%" exit /b 1
"%PYTHON%" -P -c "import enrich, pathlib, sys; sys.exit(pathlib.Path(enrich.__file__).resolve().parents[1] != pathlib.Path.cwd().resolve())" >nul 2>&1
exit /b %errorlevel%

rem Sets UV to one that runs; fails if there is none.
:find_uv
for %%U in (uv.exe) do call :try_uv "%%~$PATH:U" && exit /b 0
call :try_uv "%USERPROFILE%\.local\bin\uv.exe" && exit /b 0
call :try_uv "%CD%\launch\.uv\uv.exe" && exit /b 0
exit /b 1

:try_uv
set "UV=%~1"
if "%UV%"=="" exit /b 1
"%UV%" --version >nul 2>&1
exit /b %errorlevel%

:no_folder
echo EveryFrame's folder cannot be opened from here: unpack the whole ZIP file to a drive of this computer and try again.
pause
exit /b 1

:no_uv
echo uv, which sets EveryFrame up, could not be fetched: connect to the internet and try again, or get it from https://docs.astral.sh/uv/
goto :failed

:no_python
echo Python 3.11, 3.12 or 3.13 could not be set up: connect to the internet and try again, or get it from https://www.python.org/downloads/
goto :failed

:no_parts
echo EveryFrame's parts could not be fetched (the reason is above): connect to the internet and try again.
goto :failed

:no_place
echo EveryFrame could not be installed in "%CD%": is the folder writable?
goto :failed

:failed
pause
popd
exit /b 1
